//! The API stays up whatever connections, bodies and headers clients send.
