"""The features step: the captions of a folder, encoded once by a frozen encoder, beside the pictures."""
