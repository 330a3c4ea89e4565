//! One request never harms another, and opens no file but its own.
