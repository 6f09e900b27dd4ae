//! What the API, the command line and the page may ask of the engine, and what it answers.
