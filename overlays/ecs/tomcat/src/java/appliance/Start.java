package appliance;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.cert.Certificate;
import java.util.List;

/** Tomcat's start, after the appliance's certificate was taken among those that Java trusts. It is done in this JVM, as a
 *  keytool before it would be a second one to wait for. */
public final class Start {
  private Start() {}

  public static void main(String[] args) throws ReflectiveOperationException {
    trust(Path.of(System.getenv("IMPORT_CERT")), Path.of(System.getProperty("catalina.base"), "truststore.p12"));
    // Tomcat is in the class path, and nothing is compiled against it
    Class.forName("org.apache.catalina.startup.Bootstrap").getMethod("main", String[].class).invoke(null, (Object) new String[] {"start"});
  }

  /** A certificate that is broken or not there is no reason not to start: then only the distribution's are trusted. */
  private static void trust(Path certificate, Path store) {
    if (!Files.exists(certificate)) {
      return;
    }
    try {
      List<Certificate> all = TrustStore.ofTheJvm();
      all.addAll(TrustStore.pem(certificate));
      TrustStore.write(store, all);
      System.setProperty("javax.net.ssl.trustStore", store.toString());
      System.setProperty("javax.net.ssl.trustStoreType", "PKCS12");
      System.setProperty("javax.net.ssl.trustStorePassword", "");
      System.err.println("trusted besides the distribution's certificates: " + certificate);
    } catch (IOException | GeneralSecurityException e) {
      System.err.println("warning: " + certificate + " is not trusted: " + e.getMessage());
    }
  }
}
