"""Stage 1: an LSTM over movie ids, titles and genres predicts each user's next movie."""
