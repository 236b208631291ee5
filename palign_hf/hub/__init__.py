"""Publishing to the Hub: artifacts, cards, pushes and retries. It knows no stage; stages describe their artifacts."""
