"""What crosses Redis between API and workers: names, records, queues, cards. Imports no machine-learning package."""
