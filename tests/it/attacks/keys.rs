//! Idempotency, limits and keys of the API.
