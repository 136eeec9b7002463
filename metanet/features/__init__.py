"""What a meta-model reads, fitted on views: unions of representations, hyperparameters, responses."""
