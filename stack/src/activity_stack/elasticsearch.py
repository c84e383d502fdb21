"""Elasticsearch from the published jars, started and completed by the sources in `stack/java`."""

from __future__ import annotations

import base64
import json
import platform
import shutil
import ssl
import urllib.request
from pathlib import Path
from typing import ClassVar

from activity_stack import jars
from activity_stack.java import compile_jar
from activity_stack.java_server import JavaServer, lock
from activity_stack.ports import HOST
from activity_stack.processes import Launch
from activity_stack.server import PROBE_TIMEOUT
from activity_stack.settings import SOURCES

HEAP = "1g"
USER = "elastic"
PASSWORD = "test-secret"  # noqa: S105 - for a loopback server of tests
READY_STATES = {"green", "yellow"}
LIBRARY_FOLDERS = ("usr/lib/*-linux-gnu", "usr/lib64", "usr/lib")
ARCHITECTURES = {"x86_64": "x64", "aarch64": "aarch64"}
COMPILER = "compiler"
LAUNCHER = "activity.stack.NodeLauncher"
LOGGING = """status = error
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1.} [%node_name] - %marker%m%consoleException%n
"""
MODULES = {
    "transport-netty4": ("org.elasticsearch.transport.netty4.Netty4Plugin", ""),
    "rest-root": ("activity.stack.RootPlugin", ""),
    "analysis-common": ("activity.stack.AnalysisPlugin", ""),
}
SECURITY_MODULES = {
    "x-pack-core": ("org.elasticsearch.xpack.core.XPackPlugin", ""),
    "x-pack-security": ("org.elasticsearch.xpack.security.Security", "x-pack-core"),
}
OURS = {"rest-root": "RootPlugin", "analysis-common": "AnalysisPlugin"}


class Elasticsearch(JavaServer):
    """One node, without security."""

    name = "elasticsearch"
    locks: ClassVar[tuple[str, ...]] = ("elasticsearch",)
    modules: ClassVar[dict[str, tuple[str, str]]] = MODULES
    environment: ClassVar[dict[str, str]] = {"ELASTIC_PASSWORD": ""}
    scheme: ClassVar[str] = "http"

    def listens_on(self) -> dict[str, int]:
        """HTTP and the transport between nodes."""
        return {
            "elasticsearch": self.ports.elasticsearch,
            "elasticsearch_transport": self.ports.elasticsearch_transport,
        }

    def address(self) -> str:
        """The URL that clients take."""
        return f"{self.scheme}://{HOST}:{next(iter(self.listens_on().values()))}"

    def missing_jars(self) -> list[jars.Jar]:
        """All of the locks and the compiler, until the node is laid out."""
        locks = [lock(name) for name in (*self.locks, COMPILER)]
        return [] if self.home.exists() else [jar for each in locks for jar in each.jars()]

    def prepare(self) -> str:
        """Lay out the jars, compile ours, write the configuration."""
        self.install()
        self._configure()
        return self._version()

    def launch(self) -> Launch:
        """Our launcher with the node's settings."""
        options = [*self.run_options(), *self._java_options()]
        settings = [f"-E{name}={value}" for name, value in self.node_settings().items()]
        return Launch((self.java.executable, *options, LAUNCHER, *settings), self.environment)

    def ready(self) -> bool:
        """Whether the cluster has all its primary shards."""
        url = f"{self.address()}/_cluster/health?wait_for_status=yellow&timeout=1s"
        request = urllib.request.Request(url, headers=self._headers())  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=PROBE_TIMEOUT, context=self._tls()) as answer:  # noqa: S310
            return json.load(answer)["status"] in READY_STATES

    @property
    def home(self) -> Path:
        """Named for the version, the locks, our sources, and whether the machine's zstd may be in it."""
        digests = [lock(name).digest[:8] for name in self.locks]
        sources = jars.digest_of(sorted((SOURCES / "java").glob("*.java")))[:8]
        kind = "system" if self.instance.settings.use_system else "pure"
        return self.instance.settings.dist / "-".join([self.name, self._version(), *digests, sources, kind])

    @property
    def snapshots(self) -> Path:
        """Where a repository of type `fs` may keep snapshots."""
        return self.instance.data(f"{self.name}-snapshots")

    def heap_options(self) -> list[str]:
        """Enough for bulk requests of the largest size."""
        return [f"-Xms{HEAP}", f"-Xmx{HEAP}", "-XX:+UseSerialGC"]

    def build(self, home: Path) -> None:
        """The jars in their folders, our sources compiled among them, a description for each module."""
        store = self.instance.settings.dist
        for name in self.locks:
            jars.lay_out(lock(name), store, home)
        (home / "plugins").mkdir()
        self._place_compression(home)
        self._compile(home, lock(COMPILER).jars()[0].path(store))
        for name, (main_class, extends) in self.modules.items():
            self._describe(home / "modules" / name, main_class, extends)

    def node_settings(self) -> dict[str, object]:
        """The node's settings."""
        http, transport = self.listens_on().values()
        return {
            "path.data": self.instance.data(self.name),
            "path.logs": self.instance.log(self.name).parent,
            "path.repo": self.snapshots,
            "http.port": http,
            "transport.port": transport,
            "network.host": HOST,
            "node.name": self.name,
            "discovery.type": "single-node",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }

    def _headers(self) -> dict[str, str]:
        return {}

    def _tls(self) -> ssl.SSLContext | None:
        return None

    def _version(self) -> str:
        return lock(self.locks[0]).version("elasticsearch")

    def _java_options(self) -> list[str]:
        properties = {
            "es.path.home": self.home,
            "es.path.conf": self.instance.config(self.name),
            "es.networkaddress.cache.ttl": 60,
            "org.elasticsearch.nativeaccess.enableVectorLibrary": "false",
            "io.netty.noUnsafe": "true",
            "io.netty.noKeySetOptimization": "true",
            "io.netty.recycler.maxCapacityPerThread": 0,
            "java.awt.headless": "true",
            "file.encoding": "UTF-8",
        }
        options = [f"-D{name}={value}" for name, value in properties.items()]
        options += ["--enable-native-access=ALL-UNNAMED", "--add-opens=java.base/java.io=ALL-UNNAMED"]
        return options + self.java.option_if(24, "--sun-misc-unsafe-memory-access=allow")

    def _configure(self) -> None:
        config = self.instance.config(self.name)
        (config / "elasticsearch.yml").write_text("cluster.name: activity-stack\n")
        (config / "log4j2.properties").write_text(LOGGING)
        self.instance.data(self.name).mkdir(parents=True, exist_ok=True)

    def _compile(self, home: Path, compiler: Path) -> None:
        class_path = sorted((home / "lib").glob("*.jar"))
        targets = {"NodeLauncher": home / "lib" / "activity-launcher.jar"}
        targets |= {source: home / "modules" / name / f"activity-{name}.jar" for name, source in OURS.items()}
        for source, jar in targets.items():
            compile_jar(self.java, compiler, [SOURCES / "java" / f"{source}.java"], class_path, jar)

    def _place_compression(self, home: Path) -> None:
        """Give the node the machine's zstd, which the codec `best_compression` needs and no jar brings."""
        found = [path for folder in LIBRARY_FOLDERS for path in sorted(Path("/").glob(f"{folder}/libzstd.so.1"))]
        if found and self.instance.settings.use_system:
            folder = home / "lib" / "platform" / f"linux-{ARCHITECTURES.get(platform.machine(), platform.machine())}"
            folder.mkdir(parents=True)
            shutil.copy(found[0], folder / "libzstd.so")

    def _describe(self, folder: Path, main_class: str, extends: str) -> None:
        version = self._version()
        properties = {
            "name": folder.name,
            "description": folder.name,
            "version": version,
            "elasticsearch.version": version,
            "java.version": 21,
            "classname": main_class,
            "extended.plugins": extends,
            "has.native.controller": "false",
        }
        lines = [f"{name}={value}" for name, value in properties.items()]
        (folder / "plugin-descriptor.properties").write_text("\n".join(lines) + "\n")


class Elasticsearch8(Elasticsearch):
    """One node of the major version before, without security."""

    name = "elasticsearch-8"
    locks = ("elasticsearch-8",)

    def listens_on(self) -> dict[str, int]:
        """HTTP and the transport between nodes."""
        return {
            "elasticsearch_8": self.ports.elasticsearch_8,
            "elasticsearch_8_transport": self.ports.elasticsearch_8_transport,
        }


class SecureElasticsearch(Elasticsearch):
    """One node with HTTPS, users and API keys."""

    name = "elasticsearch-secure"
    locks = ("elasticsearch", "elasticsearch-security")
    modules: ClassVar[dict[str, tuple[str, str]]] = MODULES | SECURITY_MODULES
    environment: ClassVar[dict[str, str]] = {"ELASTIC_PASSWORD": PASSWORD}
    scheme = "https"

    def listens_on(self) -> dict[str, int]:
        """HTTPS and the transport between nodes."""
        return {
            "elasticsearch_secure": self.ports.elasticsearch_secure,
            "elasticsearch_secure_transport": self.ports.elasticsearch_secure_transport,
        }

    def node_settings(self) -> dict[str, object]:
        """Those of the plain node and TLS; a node reads certificates from its configuration folder only."""
        secure: dict[str, object] = {"xpack.security.enabled": "true", "xpack.security.http.ssl.enabled": "true"}
        for name, file in (("key", "server.key"), ("certificate", "server.pem"), ("certificate_authorities", "ca.pem")):
            secure[f"xpack.security.http.ssl.{name}"] = self.instance.config(self.name) / file
        return super().node_settings() | secure

    def _configure(self) -> None:
        super()._configure()
        for source in self.instance.certificates().folder.iterdir():
            target = self.instance.config(self.name) / source.name
            target.write_bytes(source.read_bytes())
            target.chmod(0o600)

    def _headers(self) -> dict[str, str]:
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        return {"Authorization": f"Basic {token}"}

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.instance.certificates().authority))
