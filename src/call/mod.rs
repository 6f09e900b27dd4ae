//! The B2BUA: calls, legs, forks, dial plan, call records.
