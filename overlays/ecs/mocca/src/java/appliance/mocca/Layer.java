package appliance.mocca;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import javax.servlet.ServletException;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import javax.servlet.http.Part;

/**
 * POST /bkuonline/http-security-layer-request, or /bkuonline/ itself: a command as parameter XMLRequest of a form of either kind, or as the body itself. Always
 * answered with an ErrorResponse, but for a body over 1 MB (413).
 */
public class Layer extends HttpServlet {
  private static final long serialVersionUID = 1;
  private static final int MOST_BYTES = 1 << 20;
  private static final String FIELD = "XMLRequest";

  @Override
  protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
    String type = request.getContentType() == null ? "" : request.getContentType().toLowerCase(Locale.ROOT);
    Problem problem;
    try {
      byte[] xml = type.startsWith("multipart/form-data") ? part(request) : body(request);
      if (xml != null && type.startsWith("application/x-www-form-urlencoded")) {
        xml = field(xml);
      }
      problem = xml == null || xml.length == 0 ? Problem.NO_REQUEST : Command.judge(xml);
    } catch (TooLarge e) {
      response.setStatus(HttpServletResponse.SC_REQUEST_ENTITY_TOO_LARGE);
      // the rest of it is not waited for
      response.setHeader("Connection", "close");
      answer(response, "text/plain;charset=UTF-8", "A request may have 1 MB.\n");
      return;
    } catch (ServletException | IllegalArgumentException e) {
      problem = Problem.ENCODING;
    }
    answer(response, "text/xml;charset=UTF-8", problem.xml());
  }

  private static void answer(HttpServletResponse response, String type, String text) throws IOException {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    response.setContentType(type);
    response.setContentLength(bytes.length);
    response.setHeader("Cache-Control", "no-store");
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.getOutputStream().write(bytes);
  }

  private static byte[] part(HttpServletRequest request) throws IOException, ServletException, TooLarge {
    try {
      Part part = request.getPart(FIELD);
      return part == null ? null : part.getInputStream().readAllBytes();
    } catch (IllegalStateException e) {
      throw new TooLarge();
    }
  }

  private static byte[] body(HttpServletRequest request) throws IOException, TooLarge {
    byte[] bytes = request.getContentLengthLong() > MOST_BYTES ? null : request.getInputStream().readNBytes(MOST_BYTES + 1);
    if (bytes == null || bytes.length > MOST_BYTES) {
      throw new TooLarge();
    }
    return bytes;
  }

  /** The parameter's bytes as they were before they were encoded, whatever their charset: the XML says that itself. */
  private static byte[] field(byte[] form) {
    String text = new String(form, StandardCharsets.ISO_8859_1);
    for (String pair : text.split("&")) {
      if (pair.startsWith(FIELD + "=")) {
        return decoded(pair.substring(FIELD.length() + 1));
      }
    }
    return null;
  }

  private static byte[] decoded(String text) {
    ByteArrayOutputStream out = new ByteArrayOutputStream(text.length());
    for (int i = 0; i < text.length(); ++i) {
      char c = text.charAt(i);
      if (c == '%') {
        int high = i + 2 < text.length() ? Character.digit(text.charAt(i + 1), 16) : -1;
        int low = i + 2 < text.length() ? Character.digit(text.charAt(i + 2), 16) : -1;
        if (high < 0 || low < 0) {
          throw new IllegalArgumentException("no two digits after %");
        }
        out.write(high * 16 + low);
        i += 2;
      } else {
        out.write(c == '+' ? ' ' : c);
      }
    }
    return out.toByteArray();
  }

  private static final class TooLarge extends Exception {
    private static final long serialVersionUID = 1;
  }
}
