//! The two shapes of telemetry on the wire, told apart and read.
