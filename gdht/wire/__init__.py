"""Pure bytes to messages and back: framing, schemas and codecs; the only package that imports construct."""
