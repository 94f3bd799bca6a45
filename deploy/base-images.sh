#!/usr/bin/env bash
# Makes the base images that rask's Dockerfiles and Compose file name, from Debian's packages, for a machine that
# reaches no image registry. With a registry nobody needs this script: the same names are then pulled.
#
#   deploy/base-images.sh [--force] [debian] [rust] [nginx] [postgres]      (default: all four)
#
#   debian:bookworm-slim   debootstrap --variant=minbase, without documentation and locales
#   rust:1.95-bookworm     + gcc, libc6-dev and this machine's Rust toolchain
#   nginx:1                + Debian's nginx, logging to stdout and stderr
#   postgres:15            + Debian's PostgreSQL 15, configured through POSTGRES_USER, _PASSWORD and _DB
#
# An image that exists is left alone, whoever made it; --force makes it anew. What this script made carries the
# label rask.base=1 (docker images --filter label=rask.base=1). Stand-ins for building and trying, not for
# production. Needs root, for debootstrap, and a Docker daemon.
# Environment: DEBIAN_MIRROR (http://deb.debian.org/debian), DEBIAN_SECURITY_MIRROR (http://deb.debian.org/debian-security).
set -euo pipefail

readonly SUITE=bookworm RUST_VERSION=1.95
readonly MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
readonly SECURITY_MIRROR=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
readonly DEBIAN=debian:$SUITE-slim

usage() { sed -n '2,/^set -/{/^#/s/^# \{0,1\}//p}' "$0"; }
say() { printf 'base-images: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Whether image $1 has to be made; says so either way.
wanted() {
    if [[ $force = no ]] && docker image inspect "$1" >/dev/null 2>&1; then
        say "$1 exists, left alone"
        return 1
    fi
    say "making $1"
}

# docker build of a context that comes as a tar on stdin (understood by the classic builder and by BuildKit alike).
# Proxy settings of this shell reach the build, and are not kept in the image.
build() {
    docker build --quiet --force-rm --tag "$1" --label rask.base=1 \
        --build-arg http_proxy --build-arg https_proxy --build-arg no_proxy - >"$work/build.log" 2>&1 ||
        { tail -n 30 "$work/build.log" >&2; die "$1: the build failed"; }
}

# The same for a context of the one Dockerfile on stdin.
build_dockerfile() {
    local context=$work/context
    rm -rf "$context" && mkdir "$context" && cat >"$context/Dockerfile"
    tar -C "$context" -c . | build "$1"
}

make_debian() {
    wanted "$DEBIAN" || return 0
    if ! command -v debootstrap >/dev/null; then
        say "installing debootstrap"
        apt-get update -q >&2
        apt-get install -qy --no-install-recommends debootstrap debian-archive-keyring >&2
    fi
    local root=$work/root
    debootstrap --variant=minbase "$SUITE" "$root" "$MIRROR" >"$work/debootstrap.log" ||
        { tail -n 20 "$work/debootstrap.log" >&2; die "debootstrap failed"; }
    # Slim: now, and for every package that a layer on top installs. Copyright files stay. No fsync for each file: an
    # image that the power failed under is built again.
    cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<-END
	path-exclude /usr/share/doc/*
	path-include /usr/share/doc/*/copyright
	path-exclude /usr/share/man/*
	path-exclude /usr/share/info/*
	path-exclude /usr/share/locale/*
	force-unsafe-io
	END
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "$root"/usr/share/{man,info,locale}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/*
    cat >"$root/etc/apt/sources.list" <<-END
	deb $MIRROR $SUITE main
	deb $MIRROR $SUITE-updates main
	deb $SECURITY_MIRROR $SUITE-security main
	END
    tar -C "$root" -c . |
        docker import --change 'CMD ["bash"]' --change 'LABEL rask.base=1' - "$DEBIAN" >/dev/null
    rm -rf "$root"
}

make_rust() {
    local image=rust:$RUST_VERSION-bookworm sysroot have context=$work/rust
    wanted "$image" || return 0
    sysroot=$(rustc --print sysroot) || die "$image: no rustc on this machine to copy the toolchain from"
    have=$(rustc -V | cut -d' ' -f2)
    [[ $(printf '%s\n' "$RUST_VERSION" "$have" | sort -V | head -n 1) = "$RUST_VERSION" ]] ||
        die "$image: this machine's rustc is $have, too old"
    [[ $have = "$RUST_VERSION".* ]] || say "$image: holds this machine's rustc $have"

    mkdir -p "$context/ca"
    # What this machine trusts, so that cargo works in the image where TLS goes through a company's proxy.
    local ca=${CARGO_HTTP_CAINFO:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
    [[ ! -r $ca ]] || cp -L "$ca" "$context/ca/ca-certificates.crt"
    cat >"$context/Dockerfile" <<-END
	FROM $DEBIAN
	RUN apt-get update -q && apt-get install -qy --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
	COPY ca /etc/ssl/certs
	COPY rust /usr/local
	CMD ["bash"]
	END
    # The compiler, cargo and the standard library; not the gigabyte of documentation.
    tar -c -C "$context" Dockerfile ca \
        -C "$sysroot" --transform 's,^\(bin\|lib\|libexec\),rust/\1,S' bin/cargo bin/rustc lib | build "$image"
}

make_nginx() {
    wanted nginx:1 || return 0
    build_dockerfile nginx:1 <<-END
	FROM $DEBIAN
	RUN apt-get update -q && apt-get install -qy --no-install-recommends nginx-light curl && rm -rf /var/lib/apt/lists/* \\
	    && ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log
	EXPOSE 80
	STOPSIGNAL SIGQUIT
	CMD ["nginx", "-g", "daemon off;"]
	END
}

make_postgres() {
    wanted postgres:15 || return 0
    local context=$work/postgres
    mkdir "$context"
    cat >"$context/docker-entrypoint.sh" <<-'END'
	#!/bin/sh
	# As the official image: the first start makes the cluster, user and database; arguments go to the server.
	set -eu
	case "${1:-postgres}" in postgres | -*) ;; *) exec "$@" ;; esac
	[ "${1:-}" = postgres ] && shift
	as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
	user=${POSTGRES_USER:-postgres} db=${POSTGRES_DB:-${POSTGRES_USER:-postgres}}
	mkdir -p "$PGDATA" && chmod 700 "$PGDATA" && chown postgres:postgres "$PGDATA" /var/run/postgresql
	if [ ! -s "$PGDATA/PG_VERSION" ]; then
	    [ -n "${POSTGRES_PASSWORD:-}" ] || { echo "Error: POSTGRES_PASSWORD is not set" >&2; exit 1; }
	    password=$(mktemp) && printf '%s\n' "$POSTGRES_PASSWORD" >"$password" && chown postgres "$password"
	    as_postgres initdb --username="$user" --pwfile="$password" --auth-local=trust --auth-host=scram-sha-256 -E UTF8
	    rm "$password"
	    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
	    # The database through the single-user server: no temporary listener, hence no false "ready".
	    [ "$db" = postgres ] ||
	        printf 'CREATE DATABASE "%s"\n' "$db" | as_postgres postgres --single -D "$PGDATA" -j postgres >/dev/null
	fi
	exec setpriv --reuid=postgres --regid=postgres --init-groups postgres -c listen_addresses='*' "$@"
	END
    chmod 755 "$context/docker-entrypoint.sh"
    cat >"$context/Dockerfile" <<-END
	FROM $DEBIAN
	RUN mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf \\
	    && apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends postgresql-15 \\
	    && rm -rf /var/lib/apt/lists/*
	ENV PATH=/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \\
	    LANG=C.UTF-8 PGDATA=/var/lib/postgresql/data
	COPY docker-entrypoint.sh /usr/local/bin/
	VOLUME /var/lib/postgresql/data
	EXPOSE 5432
	STOPSIGNAL SIGINT
	ENTRYPOINT ["docker-entrypoint.sh"]
	CMD ["postgres"]
	END
    tar -C "$context" -c . | build postgres:15
}

force=no names=()
for arg; do
    case $arg in
        --force) force=yes ;;
        -h | --help) usage; exit ;;
        debian | rust | nginx | postgres) names+=("$arg") ;;
        *) usage >&2; exit 64 ;;
    esac
done
[[ $(id -u) = 0 ]] || die "needs root (debootstrap makes a root file system)"
docker version >/dev/null 2>&1 || die "no Docker daemon answers"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

[[ ${#names[@]} -gt 0 ]] || names=(debian rust nginx postgres)
# Everything stands on debian: it is there first, and is made anew only when it was named.
if [[ " ${names[*]} " != *" debian "* ]] && ! docker image inspect "$DEBIAN" >/dev/null 2>&1; then make_debian; fi
for name in "${names[@]}"; do "make_$name"; done
say "done in ${SECONDS} s"
