//! A software phone for the demonstration and the tests; speaks through rsip, so that a fault of our wire layer is not mirrored.
