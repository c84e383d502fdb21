package activity.stack;

import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.elasticsearch.bootstrap.BootstrapInfo;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.KeyStoreWrapper;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * Starts one Elasticsearch node in this process and ends it on SIGTERM.
 *
 * <p>The stock launcher needs files that only the archive has (an entitlement agent, a native controller); this one needs
 * {@code lib/} and {@code modules/} below {@code es.path.home} and a configuration folder in {@code es.path.conf}.
 * Arguments are node settings, {@code -Ename=value} each; ELASTIC_PASSWORD, if not empty, is the password of {@code elastic}.
 */
public final class NodeLauncher {
    private static final long CLOSE_LIMIT_SECONDS = 20;
    private static final String SETTING = "-E";

    private NodeLauncher() {}

    public static void main(String[] arguments) throws Exception {
        System.setProperty("log4j.shutdownHookEnabled", "false");
        System.setProperty("log4j2.disable.jmx", "true");
        LogConfigurator.registerErrorListener();
        Environment environment = environment(settingsOf(arguments));
        BootstrapInfo.init();
        LogConfigurator.setNodeName(Node.NODE_NAME_SETTING.get(environment.settings()));
        LogConfigurator.configure(environment, true);
        run(new Node(environment, plugins(environment)));
    }

    private static Map<String, String> settingsOf(String[] arguments) {
        Map<String, String> settings = new HashMap<>();
        for (String argument : arguments) {
            int equals = argument.indexOf('=');
            if (!argument.startsWith(SETTING) || equals <= SETTING.length()) {
                throw new IllegalArgumentException("expected -Ename=value, got " + argument);
            }
            settings.put(argument.substring(SETTING.length(), equals), argument.substring(equals + 1));
        }
        return settings;
    }

    private static Environment environment(Map<String, String> settings) throws Exception {
        Path home = Path.of(System.getProperty("es.path.home"));
        Settings.Builder fixed = Settings.builder().put("path.home", home.toString());
        String password = System.getenv().getOrDefault("ELASTIC_PASSWORD", "");
        if (!password.isEmpty()) {
            KeyStoreWrapper secrets = KeyStoreWrapper.create();
            secrets.setString("bootstrap.password", password.toCharArray());
            fixed.setSecureSettings(secrets);
        }
        Path configuration = Path.of(System.getProperty("es.path.conf"));
        return InternalSettingsPreparer.prepareEnvironment(fixed.build(), settings, configuration, () -> "localhost");
    }

    private static PluginsLoader plugins(Environment environment) {
        return PluginsLoader.createPluginsLoader(
            PluginsLoader.loadModulesBundles(environment.modulesDir()),
            PluginsLoader.loadPluginsBundles(environment.pluginsDir()),
            Map.of(),
            false);
    }

    private static void run(Node node) throws Exception {
        CountDownLatch closed = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node, closed), "node-shutdown"));
        try {
            node.start();
        } catch (Throwable failure) {
            failure.printStackTrace();
            System.exit(1);
        }
        closed.await();
    }

    private static void close(Node node, CountDownLatch closed) {
        try {
            node.prepareForClose();
            node.close();
            node.awaitClose(CLOSE_LIMIT_SECONDS, TimeUnit.SECONDS);
        } catch (Exception failure) {
            failure.printStackTrace();
        } finally {
            closed.countDown();
        }
    }
}
