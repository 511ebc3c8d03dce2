"""Made-up conversations for the demo model: tables of facts, grammars of sentences, no outside text.

Every conversation is a list of `Turn`s in the shape of an OpenAI request. What may be learnt and what
is kept for the examination is decided by `held_out(key)`, a hash of what the question is about, so
that a held-out question is never in the training data, whatever the seed.
"""
