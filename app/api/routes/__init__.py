"""HTTP routes: parse, call one function, return."""
