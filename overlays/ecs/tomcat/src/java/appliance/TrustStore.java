package appliance;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.TreeMap;

/** Certificates that Java trusts, in a PKCS#12 file without a password: same certificates, same bytes. */
public final class TrustStore {
  private TrustStore() {}

  /** TrustStore OUT IN: writes the certificates of the PEM file IN to OUT. An image's own store is made so, as the one of the
   *  distribution has the time of its making in it. */
  public static void main(String[] args) throws IOException, GeneralSecurityException {
    write(Path.of(args[0]), pem(Path.of(args[1])));
  }

  /** All certificates of a PEM file; one without any is an error. */
  static List<Certificate> pem(Path file) throws IOException, GeneralSecurityException {
    try (InputStream in = new BufferedInputStream(Files.newInputStream(file))) {
      List<Certificate> found = new ArrayList<>(CertificateFactory.getInstance("X.509").generateCertificates(in));
      if (found.isEmpty()) {
        throw new GeneralSecurityException("no certificate in it");
      }
      return found;
    }
  }

  /** What the JVM trusts when nothing else is said. */
  static List<Certificate> ofTheJvm() throws IOException, GeneralSecurityException {
    Path file = Path.of(System.getProperty("java.home"), "lib", "security", "cacerts");
    List<Certificate> found = new ArrayList<>();
    // as old stores have this password, by which they are merely proven to be whole
    KeyStore store = KeyStore.getInstance(file.toFile(), "changeit".toCharArray());
    for (String alias : java.util.Collections.list(store.aliases())) {
      found.add(store.getCertificate(alias));
    }
    return found;
  }

  static void write(Path file, List<Certificate> certificates) throws IOException, GeneralSecurityException {
    // neither encrypted nor sealed: both would take a password and random bytes
    System.setProperty("keystore.pkcs12.certProtectionAlgorithm", "NONE");
    System.setProperty("keystore.pkcs12.macAlgorithm", "NONE");
    TreeMap<String, Certificate> sorted = new TreeMap<>();
    for (Certificate certificate : certificates) {
      byte[] digest = java.security.MessageDigest.getInstance("SHA-256").digest(certificate.getEncoded());
      sorted.put(Base64.getUrlEncoder().withoutPadding().encodeToString(digest).toLowerCase(java.util.Locale.ROOT), certificate);
    }
    KeyStore store = KeyStore.getInstance("PKCS12");
    store.load(null, null);
    for (java.util.Map.Entry<String, Certificate> entry : sorted.entrySet()) {
      store.setCertificateEntry(entry.getKey(), entry.getValue());
    }
    try (OutputStream out = Files.newOutputStream(file)) {
      store.store(out, null);
    }
  }
}
