package appliance.pdfas;

/** Why there is no signature, as the caller is told it: a status of HTTP and a sentence. */
final class Refused extends Exception {
  private static final long serialVersionUID = 1;
  final int status;

  Refused(int status, String why) {
    super(why, null, false, false);
    this.status = status;
  }
}
