package appliance.pdfas;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.cert.CertificateExpiredException;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateNotYetValidException;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;

/** What the host made at its first boot, read anew for each signature: key.pem (PKCS#8), cert.pem, secret. */
final class Keys {
  private static final Path FOLDER = Path.of(System.getenv().getOrDefault("PDFAS_KEYS", "/app/pdfas"));
  private static final int SHORTEST_SECRET = 32;
  // the last that were proven, and of what files: everybody may ask for the page, and a proof is a signature
  private static volatile Keys proven;

  final PrivateKey key;
  final X509Certificate certificate;
  private final byte[] source;

  private Keys(PrivateKey key, X509Certificate certificate, byte[] source) {
    this.key = key;
    this.certificate = certificate;
    this.source = source;
  }

  /** Key and certificate, proven to belong together today. Throws Refused with 503 otherwise. */
  static Keys load() throws Refused {
    try {
      byte[] shown = Files.readAllBytes(FOLDER.resolve("cert.pem"));
      X509Certificate certificate = (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(new ByteArrayInputStream(shown));
      certificate.checkValidity();
      String pem = Files.readString(FOLDER.resolve("key.pem"), StandardCharsets.US_ASCII);
      byte[] source = sha256((new String(shown, StandardCharsets.ISO_8859_1) + pem).getBytes(StandardCharsets.ISO_8859_1));
      Keys last = proven;
      if (last != null && MessageDigest.isEqual(last.source, source)) {
        return last;
      }
      byte[] der = Base64.getMimeDecoder().decode(pem.replaceAll("-----[A-Z ]+-----", ""));
      String kind = certificate.getPublicKey().getAlgorithm();
      Keys keys = new Keys(KeyFactory.getInstance(kind).generatePrivate(new PKCS8EncodedKeySpec(der)), certificate, source);
      keys.prove();
      proven = keys;
      return keys;
    } catch (NoSuchFileException e) {
      throw new Refused(503, "There is no signing key.");
    } catch (CertificateExpiredException | CertificateNotYetValidException e) {
      throw new Refused(503, "The signing certificate is not valid today.");
    } catch (IOException | GeneralSecurityException | IllegalArgumentException e) {
      throw new Refused(503, "The signing key or its certificate cannot be used.");
    }
  }

  String algorithm() {
    return "EC".equals(key.getAlgorithm()) ? "SHA256withECDSA" : "SHA256withRSA";
  }

  private void prove() throws GeneralSecurityException {
    byte[] text = "proof".getBytes(StandardCharsets.US_ASCII);
    Signature signature = Signature.getInstance(algorithm());
    signature.initSign(key);
    signature.update(text);
    byte[] signed = signature.sign();
    signature.initVerify(certificate);
    signature.update(text);
    if (!signature.verify(signed)) {
      throw new GeneralSecurityException("key and certificate are of two pairs");
    }
  }

  /** Is it the secret? No secret, an empty or a short one lets nobody in. How long it takes does not depend on what is right in it. */
  static boolean knows(String given) {
    if (given == null) {
      return false;
    }
    try {
      byte[] secret = Files.readString(FOLDER.resolve("secret"), StandardCharsets.US_ASCII).trim().getBytes(StandardCharsets.UTF_8);
      return secret.length >= SHORTEST_SECRET && MessageDigest.isEqual(sha256(given.getBytes(StandardCharsets.UTF_8)), sha256(secret));
    } catch (IOException e) {
      return false;
    }
  }

  static byte[] sha256(byte[] bytes) {
    try {
      return MessageDigest.getInstance("SHA-256").digest(bytes);
    } catch (GeneralSecurityException e) {
      throw new IllegalStateException(e);
    }
  }
}
