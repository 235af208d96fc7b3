package appliance.pdfas;

import java.io.IOException;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;

/** GET /pdf-as-web/health: 200 while it can sign. */
public final class Health extends HttpServlet {
  private static final long serialVersionUID = 1;

  @Override
  protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
    response.setContentType("text/plain;charset=UTF-8");
    response.setHeader("Cache-Control", "no-store");
    try {
      Keys.load();
      response.getWriter().println("ready to sign");
    } catch (Refused refused) {
      response.setStatus(refused.status);
      response.getWriter().println(refused.getMessage());
    }
  }
}
