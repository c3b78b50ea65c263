"""The tables and figures of PromptSmooth and AdvPT as data, and the few executors that measure them."""
