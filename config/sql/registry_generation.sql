SELECT generation FROM registry
