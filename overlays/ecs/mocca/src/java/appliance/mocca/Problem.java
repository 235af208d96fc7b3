package appliance.mocca;

/** Answers, by the numbers that the Security Layer has for them. */
enum Problem {
  NO_REQUEST(2004, "Der Parameter XMLRequest fehlt.", "The parameter XMLRequest is missing."),
  ENCODING(2006, "Der Parameter XMLRequest ist falsch kodiert.", "The parameter XMLRequest is encoded wrongly."),
  MARKUP(3000, "DTD, Entitäten und übermäßig tiefe Verschachtelung werden nicht angenommen.", "DTD, entities and very deep nesting are not accepted."),
  NOT_WELL_FORMED(3001, "Die Anfrage ist kein wohlgeformtes XML.", "The request is not well-formed XML."),
  NOT_A_COMMAND(3002, "Die Anfrage ist kein Befehl des Security Layer 1.2.", "The request is no command of Security Layer 1.2."),
  OTHER_VERSION(3005, "Nur Security Layer 1.2 wird verstanden.", "Only Security Layer 1.2 is understood."),
  STAND_IN(4011, "Der Befehl wird hier nicht ausgeführt.", "The command is not carried out here.");

  private static final String WHO_DE = " Hier antwortet ein Platzhalter für MOCCA, der keine Bürgerkarte anspricht.";
  private static final String WHO_EN = " This is a stand-in for MOCCA that speaks to no citizen card.";

  private final int code;
  private final String german;
  private final String english;

  Problem(int code, String german, String english) {
    this.code = code;
    this.german = german;
    this.english = english;
  }

  /** The response's document. All of it is ours: nothing of a request comes back. */
  String xml() {
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        + "<sl:ErrorResponse xmlns:sl=\"http://www.buergerkarte.at/namespaces/securitylayer/1.2#\">"
        + "<sl:ErrorCode>" + code + "</sl:ErrorCode>"
        + "<sl:Info>" + german + WHO_DE + " / " + english + WHO_EN + "</sl:Info>"
        + "</sl:ErrorResponse>\n";
  }
}
