# The image of workers, Flower and the command: the locked packages and the five folders of the application, no secrets.
FROM python:3.12.13-slim-trixie AS build

RUN python -m venv /venv
COPY requirements/image.txt /requirements.txt
RUN /venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: --require-hashes --no-deps -r /requirements.txt

WORKDIR /app
COPY config/ config/
COPY jobs/ jobs/
COPY producer/ producer/
COPY worker/ worker/
COPY embedded/ embedded/
COPY deploy/ deploy/
# A checkout may be private to its owner; the user below only reads.
RUN chmod -R u=rwX,go=rX /app && chmod +x deploy/entrypoint.sh deploy/ticketflow && /venv/bin/python -m compileall -q /app

FROM python:3.12.13-slim-trixie

RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin ticketflow \
 && install -d -o ticketflow -g ticketflow -m 0700 \
    /run/ticketflow /run/ticketflow/root /run/ticketflow/worker /run/ticketflow/operator
COPY --from=build /venv /venv
COPY --from=build /app /app

ENV PATH=/venv/bin:/app/deploy:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/deploy/entrypoint.sh"]
CMD ["celery", "-A", "worker.app", "worker", "-P", "threads", "-Q", "interactive,bulk", "--without-gossip", "--without-mingle", "-n", "worker@%h", "-l", "INFO"]
