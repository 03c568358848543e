"""/v1/api/model/ID/meta: what clients need to know of a model."""
