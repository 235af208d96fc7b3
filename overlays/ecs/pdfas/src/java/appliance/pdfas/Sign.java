package appliance.pdfas;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.logging.Level;
import java.util.logging.Logger;
import javax.servlet.ServletException;
import javax.servlet.http.HttpServlet;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import javax.servlet.http.Part;

/**
 * POST /pdf-as-web/Sign, multipart: `pdf-file`, and if wanted `connector` (jks, the only one here) and `visible` (1). The answer is
 * the signed PDF, or a sentence that says why not. Only who sends the secret in X-Pdfas-Secret gets a signature.
 *
 * One PDF at a time is read and signed, so that memory has a bound; others wait their turn with their bodies unread.
 */
public final class Sign extends HttpServlet {
  private static final long serialVersionUID = 1;
  private static final Logger LOG = Logger.getLogger(Sign.class.getName());
  private static final int MOST_WAITING = 24;
  private static final int WAIT_SECONDS = 60;
  private static final int SIGN_SECONDS = 60;
  private static final int LAST_SECONDS = 20;
  private static final long MOST_BYTES = 31_522_816;

  private final transient Semaphore turn = new Semaphore(1, true);
  private final transient ExecutorService worker = Executors.newSingleThreadExecutor(task -> {
    Thread thread = new Thread(task, "signer");
    thread.setDaemon(true);
    return thread;
  });

  @Override
  public void destroy() {
    worker.shutdownNow();
  }

  @Override
  protected void doPost(HttpServletRequest request, HttpServletResponse response) throws IOException {
    try {
      if (!Keys.knows(request.getHeader("X-Pdfas-Secret"))) {
        throw new Refused(403, "Only the appliance itself may have a PDF signed.");
      }
      String type = request.getContentType();
      if (type == null || !type.toLowerCase(java.util.Locale.ROOT).startsWith("multipart/form-data")) {
        throw new Refused(415, "Send multipart/form-data with a field pdf-file.");
      }
      if (request.getContentLengthLong() > MOST_BYTES) {
        throw tooLarge();
      }
      if (turn.getQueueLength() >= MOST_WAITING || !turn.tryAcquire(WAIT_SECONDS, TimeUnit.SECONDS)) {
        response.setHeader("Retry-After", "10");
        throw new Refused(503, "Too many PDFs wait for their signature. Try again in a while.");
      }
      try {
        inTurn(request, response);
      } finally {
        turn.release();
      }
    } catch (Refused refused) {
      refuse(response, refused);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      refuse(response, new Refused(503, "The service is being stopped."));
    }
  }

  private static Refused tooLarge() {
    return new Refused(413, "A PDF may have 30 MB.");
  }

  private static void refuse(HttpServletResponse response, Refused refused) throws IOException {
    response.setStatus(refused.status);
    response.setContentType("text/plain;charset=UTF-8");
    response.setHeader("Cache-Control", "no-store");
    response.setHeader("X-Content-Type-Options", "nosniff");
    byte[] text = (refused.getMessage() + "\n").getBytes(StandardCharsets.UTF_8);
    response.setContentLength(text.length);
    response.getOutputStream().write(text);
  }

  private void inTurn(HttpServletRequest request, HttpServletResponse response) throws IOException, InterruptedException, Refused {
    Path folder = Files.createTempDirectory("sign");
    Path in = folder.resolve("in.pdf");
    Path out = folder.resolve("out.pdf");
    try {
      boolean visible = take(request, in);
      Keys keys = Keys.load();
      work(new Signer(keys, visible), in, out, response);
      if (Files.exists(out)) {
        response.setContentType("application/pdf");
        response.setHeader("Content-Disposition", "attachment; filename=\"signed.pdf\"");
        response.setHeader("Cache-Control", "no-store");
        response.setHeader("X-Content-Type-Options", "nosniff");
        response.setContentLengthLong(Files.size(out));
        Files.copy(out, response.getOutputStream());
        LOG.info("signed a PDF of " + Files.size(in) + " bytes");
      }
    } finally {
      Files.deleteIfExists(in);
      Files.deleteIfExists(out);
      Files.deleteIfExists(folder);
    }
  }

  /** Takes the form's PDF to IN; returns whether the signature shall be seen. */
  private static boolean take(HttpServletRequest request, Path in) throws Refused {
    try {
      Part pdf = request.getPart("pdf-file");
      if (pdf == null || pdf.getSize() == 0) {
        throw new Refused(400, "The form has no field pdf-file with a PDF in it.");
      }
      String connector = word(request.getPart("connector"));
      if (!connector.isEmpty() && !"jks".equals(connector)) {
        throw new Refused(400, "This stand-in signs by its own key only: connector jks.");
      }
      boolean visible = "1".equals(word(request.getPart("visible")));
      Files.copy(pdf.getInputStream(), in);
      pdf.delete();
      return visible;
    } catch (IllegalStateException e) {
      throw tooLarge();
    } catch (ServletException | IOException e) {
      LOG.log(Level.INFO, "a form could not be read: {0}", e.getMessage());
      throw new Refused(400, "The form cannot be read, or broke off.");
    }
  }

  private static String word(Part part) throws IOException {
    return part == null ? "" : new String(part.getInputStream().readNBytes(64), StandardCharsets.UTF_8).trim();
  }

  /** Signs in a thread of its own, so that a PDF that takes for ever can be given up; should not even that help, the JVM ends and
   *  docker starts it again. */
  private void work(Signer signer, Path in, Path out, HttpServletResponse response) throws IOException, InterruptedException, Refused {
    CountDownLatch done = new CountDownLatch(1);
    Future<Void> signing = worker.submit(() -> {
      try {
        signer.sign(in, out);
        return null;
      } finally {
        done.countDown();
      }
    });
    try {
      signing.get(SIGN_SECONDS, TimeUnit.SECONDS);
    } catch (TimeoutException e) {
      signing.cancel(true);
      refuse(response, new Refused(422, "To sign this PDF takes longer than " + SIGN_SECONDS + " s."));
      response.flushBuffer();
      if (!done.await(LAST_SECONDS, TimeUnit.SECONDS)) {
        LOG.severe("a PDF cannot be given up: starting over");
        Runtime.getRuntime().halt(1);
      }
      Files.deleteIfExists(out);
    } catch (ExecutionException e) {
      Files.deleteIfExists(out);
      Throwable why = e.getCause();
      if (why instanceof Refused) {
        throw (Refused) why;
      }
      // what reading a broken or hostile file ends with, memory and stack among it
      LOG.log(Level.WARNING, "a PDF could not be signed: {0}", why.toString());
      throw new Refused(422, "This PDF is broken, or too deep or too large to be signed.");
    }
  }
}
