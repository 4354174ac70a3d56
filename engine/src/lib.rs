//! The Lapwing matching engine.
