"""Makes the parts of the documentation that follow from the code: reference tables and the picture of the output."""
