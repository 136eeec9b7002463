"""Evaluation: metrics, floors, the train-validation-test protocol, transfer."""
