package appliance.mocca;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;

/** GET /bkuonline/: says what this is. A command is taken here as well. */
public final class Page extends Layer {
  private static final long serialVersionUID = 1;

  @Override
  protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String text;
    try (InputStream in = getServletContext().getResourceAsStream("/WEB-INF/page.html")) {
      text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
    String host = System.getenv().getOrDefault("HOSTNAME", "localhost");
    text = text.replace("{{host}}", host.replace("&", "&amp;").replace("<", "&lt;").replace("\"", "&quot;"));
    response.setContentType("text/html;charset=UTF-8");
    response.setHeader("Cache-Control", "no-store");
    response.setHeader("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'");
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.getWriter().write(text);
  }
}
