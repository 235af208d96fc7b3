package appliance.pdfas;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.cert.CertificateEncodingException;
import java.time.ZoneOffset;
import javax.naming.InvalidNameException;
import javax.naming.ldap.LdapName;
import javax.naming.ldap.Rdn;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;

/** GET /pdf-as-web/: says what this is and whose signature it makes. */
public final class Page extends HttpServlet {
  private static final long serialVersionUID = 1;

  @Override
  protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String text;
    try (InputStream in = getServletContext().getResourceAsStream("/WEB-INF/page.html")) {
      text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
    String state = "ready";
    String says = "Ready to sign";
    String name = "–";
    String until = "–";
    String digest = "–";
    try {
      Keys keys = Keys.load();
      name = commonName(keys);
      until = keys.certificate.getNotAfter().toInstant().atOffset(ZoneOffset.UTC).toLocalDate().toString();
      digest = hex(Keys.sha256(keys.certificate.getEncoded()));
    } catch (Refused refused) {
      state = "failed";
      says = refused.getMessage();
    } catch (CertificateEncodingException e) {
      throw new IllegalStateException(e);
    }
    text = text.replace("{{state}}", state).replace("{{says}}", html(says)).replace("{{name}}", html(name))
        .replace("{{until}}", until).replace("{{digest}}", digest).replace("{{host}}", html(host()));
    response.setContentType("text/html;charset=UTF-8");
    response.setHeader("Cache-Control", "no-store");
    response.setHeader("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.getWriter().write(text);
  }

  /** The appliance's domain. */
  static String host() {
    return System.getenv().getOrDefault("HOSTNAME", "localhost");
  }

  static String commonName(Keys keys) {
    String name = keys.certificate.getSubjectX500Principal().getName();
    try {
      for (Rdn part : new LdapName(name).getRdns()) {
        if ("CN".equalsIgnoreCase(part.getType())) {
          return part.getValue().toString();
        }
      }
    } catch (InvalidNameException e) {
      return name;
    }
    return name;
  }

  private static String html(String text) {
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\"", "&quot;").replace("'", "&#39;");
  }

  private static String hex(byte[] bytes) {
    StringBuilder text = new StringBuilder();
    for (byte b : bytes) {
      text.append(String.format("%02x", b));
    }
    return text.toString();
  }
}
