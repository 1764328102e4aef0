//! The exact set of pseudonyms known durable: at most 24 bytes an entry.
