"""Vision-language models: loaded strictly from disk, never from the network."""
