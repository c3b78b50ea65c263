"""The self-test of a device: known answers of the noise laws, features and label counts of the demonstration model."""
