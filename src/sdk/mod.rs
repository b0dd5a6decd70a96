//! What a service links: typed client, caches and gates.
