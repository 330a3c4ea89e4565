//! The work that one request, list or search can cause is bounded, on both databases.
