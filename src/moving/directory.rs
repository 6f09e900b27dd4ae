//! The live legs of every user and device.
