"""The engine cache: a folder of plans that many processes share."""
