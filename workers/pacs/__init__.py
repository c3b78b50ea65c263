"""The connector to a PACS: it pulls studies that a rule selects, has them certified, and stores the results back."""
