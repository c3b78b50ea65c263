"""The contract that crosses Redis between API and workers: names, records, queues, cards. Needs no machine learning."""
