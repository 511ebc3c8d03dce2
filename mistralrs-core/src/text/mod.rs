//! Text at the rim: tokenizer, chat template, detokenizer. Knows no engine and no tensor.
