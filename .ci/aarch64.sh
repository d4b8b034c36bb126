#!/usr/bin/env bash
# Python and the base install for AArch64, run by QEMU on any machine with Debian 12: .ci/aarch64.sh FOLDER
# Then: XOPT_AARCH64=FOLDER pytest tests/engines/test_aarch64.py. Answers alone mean something there, no time does.
set -euo pipefail
home=$(realpath -m "$1")
[ "$(. /etc/os-release && echo "$ID $VERSION_ID")" = "debian 12" ] || { echo "Debian 12 alone has these packages" >&2; exit 1; }
mkdir -p "$home"/{lists/partial,debs,root,wheels,site}
command -v qemu-aarch64-static >/dev/null || { apt-get update -qq; apt-get install -y -qq --no-install-recommends qemu-user-static; } >/dev/null
apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State::Lists=$home/lists" -o APT::Sandbox::User=root)
"${apt[@]}" update >/dev/null
(cd "$home/debs" && "${apt[@]}" download libc6 libstdc++6 libgcc-s1 libgomp1 zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 \
    liblzma5 libsqlite3-0 libuuid1 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib >/dev/null)
for package in "$home"/debs/*.deb; do dpkg -x "$package" "$home/root"; done
# The versions that are tested here too.
cd "$(dirname "$0")/.."
mapfile -t pins < <(grep -E '^(openvino|numpy|tokenizers|typer|rich|filelock)==' constraints.txt)
tags=(--platform manylinux2014_aarch64)
for glibc in 17 24 26 27 28 31 34 35; do tags+=(--platform "manylinux_2_${glibc}_aarch64"); done
python3 -m pip download --quiet --only-binary=:all: --python-version 3.11 --implementation cp "${tags[@]}" -d "$home/wheels" "${pins[@]}"
for wheel in "$home"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$home/site"; done
rm -r "$home/lists" "$home/debs" "$home/wheels"
