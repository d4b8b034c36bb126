"""The files that run `xopt serve` in containers, as templates."""

from __future__ import annotations

from string import Template

__all__ = [
    "COMPOSE", "DOCKERFILE", "KUBERNETES", "KUBERNETES_GPU", "README",
    "README_COMPOSE", "README_KUBERNETES",
]  # fmt: skip

DOCKERFILE = Template(
    """\
# $wheel lies beside this file; README.md says how it is made.
FROM python:3.12-slim
# The CPU's attention is compiled for the machine that runs it, once for each container.
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY $wheel /tmp/
RUN pip install --no-cache-dir '/tmp/$wheel[$extras]' && rm /tmp/$wheel
COPY --chmod=a=rX bundle /bundle
USER 65532:65532
ENV XOPT_CACHE=/tmp/xopt HOME=/tmp PYTHONUNBUFFERED=1
EXPOSE 8000
ENTRYPOINT ["xopt", "serve", "$name=/bundle", "--host", "0.0.0.0", "--port", "8000"]
CMD ["--drain-s", "30"]
"""
)

COMPOSE = Template(
    """\
services:
  xopt:
    build: .
    image: xopt-$label
    # Set in the environment, or in a file .env beside this one; without it no key is asked for.
    environment:
      - XOPT_API_KEY
    ports:
      - "127.0.0.1:8000:8000"
    volumes:
      - ./bundle:/bundle:ro
    user: "65532:65532"
    read_only: true
    tmpfs:
      - /tmp:exec,mode=1777
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    cpus: $cpus
    mem_limit: ${memory}m
    pids_limit: 512
    restart: unless-stopped
    # Longer than the server takes to finish what runs (--drain-s).
    stop_grace_period: 40s
    # A text is answered by the model: a process that only listens is not healthy.
    healthcheck:
      test: ["CMD", "python", "-c",
             "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=10)"]
      interval: 15s
      timeout: 12s
      retries: 3
      start_period: 120s
$gpu"""
)

KUBERNETES = Template(
    """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: $label
  labels: &labels
    app.kubernetes.io/name: $label
    app.kubernetes.io/managed-by: xopt
spec:
  # The autoscaler says how many; without it this stays.
  selector:
    matchLabels:
      app.kubernetes.io/name: $label
  strategy:
    type: RollingUpdate
    rollingUpdate:
      maxUnavailable: 0
      maxSurge: 1
  template:
    metadata:
      labels: *labels
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "8000"
        prometheus.io/path: /metrics
    spec:
      automountServiceAccountToken: false
      # Five seconds until nobody sends any more, thirty for what runs.
      terminationGracePeriodSeconds: 45
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
        runAsGroup: 65532
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: xopt
          image: REGISTRY/xopt-$label:$fingerprint
          args: ["--drain-s", "30"]
          ports:
            - name: http
              containerPort: 8000
          env:
            - name: XOPT_API_KEY
              valueFrom:
                secretKeyRef:
                  name: $label
                  key: api-key
                  optional: true
          resources:
            requests:
              cpu: "$cpus"
              memory: ${memory}Mi
            limits:
              cpu: "$cpus"
              memory: ${memory}Mi
$gpu          # Each probe has a text answered by the model.
          startupProbe: &probe
            httpGet:
              path: /health
              port: http
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 60
          readinessProbe:
            <<: *probe
            periodSeconds: 10
            failureThreshold: 2
          livenessProbe:
            <<: *probe
            periodSeconds: 20
            timeoutSeconds: 15
            failureThreshold: 3
          lifecycle:
            preStop:
              sleep:
                seconds: 5
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - name: scratch
              mountPath: /tmp
      volumes:
        - name: scratch
          emptyDir:
            sizeLimit: 1Gi
---
apiVersion: v1
kind: Service
metadata:
  name: $label
spec:
  selector:
    app.kubernetes.io/name: $label
  ports:
    - name: http
      port: 80
      targetPort: http
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: $label
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: $label
  minReplicas: $least
  maxReplicas: $replicas
  metrics:
    # Tokens that wait in a pod: more than one batch of them, and another pod is started.
    - type: Pods
      pods:
        metric:
          name: xopt_queue_tokens
        target:
          type: AverageValue
          averageValue: "4096"
  behavior:
    scaleDown:
      stabilizationWindowSeconds: 300
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: $label
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app.kubernetes.io/name: $label
"""
)

KUBERNETES_GPU = """\
              nvidia.com/gpu: "1"
"""

README = Template(
    """\
# $name in containers

Written by xopt $version from a bundle for $target ($precision), fingerprint $fingerprint.

The image takes xopt from a wheel in this folder, because another project has the name xopt on PyPI.
Make it in a checkout of xopt $version, and copy it here:

    python -m build --wheel
    cp dist/$wheel FOLDER

$more
The container runs as user 65532, writes to /tmp only, and may use $cpus cores and $memory MiB. Its
health is an answer of the model (`/health`); `/metrics` is for Prometheus. SIGTERM: nothing new is
taken, what runs is finished for at most 30 seconds.

    curl localhost:8000/health
    curl localhost:8000/v1/models

No container was started when this was written: the file was checked against its schema.
"""
)

README_COMPOSE = Template(
    """\
Then:

    docker compose up --build --wait

The bundle is mounted read-only from `./bundle`. After it was replaced there:
`docker compose kill -s HUP xopt` opens the new one, and no request is lost. Docker restarts what
ends, not what is unhealthy: Swarm, Kubernetes and autoheal do that.
"""
)

README_KUBERNETES = Template(
    """\
Then, with your registry in the place of REGISTRY:

    docker build -t REGISTRY/xopt-$label:$fingerprint .
    docker push REGISTRY/xopt-$label:$fingerprint
    kubectl create secret generic $label --from-literal=api-key=KEY    # to ask for a key
    kubectl apply -f kubernetes.yaml
    kubectl port-forward service/$label 8000:80

Between $least and $replicas pods run, by the tokens that wait in each (`xopt_queue_tokens`). The
autoscaler reads that through Prometheus and prometheus-adapter (a rule for the metric of that name,
per pod); a cluster without them keeps the pods that there are. The bundle lies in the image,
read-only; a new bundle is a new image.
"""
)
