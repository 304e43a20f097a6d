"""What training reads: the table of captions, tokenizer, order and pixels."""
