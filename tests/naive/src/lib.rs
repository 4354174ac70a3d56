//! The slow, obvious matcher that the engine is held against.
