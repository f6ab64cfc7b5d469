"""Decoding against a second view: guidance, contrastive decoding, DoLa."""
