package appliance.mocca;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import javax.xml.XMLConstants;
import javax.xml.stream.XMLInputFactory;
import javax.xml.stream.XMLStreamConstants;
import javax.xml.stream.XMLStreamException;
import javax.xml.stream.XMLStreamReader;

/** What a request asks for, as far as an answer needs it: an error of the Security Layer. */
final class Command {
  private static final String LAYER = "http://www.buergerkarte.at/namespaces/securitylayer/1.2#";
  private static final String ANY_LAYER = "http://www.buergerkarte.at/namespaces/securitylayer/";
  private static final int DEEPEST = 256;

  private Command() {}

  /** The error that answers these bytes. Reads them as a stream: nothing is built of them, no DTD is taken, nothing is fetched. */
  static Problem judge(byte[] xml) throws IOException {
    XMLInputFactory factory = XMLInputFactory.newInstance();
    factory.setProperty(XMLInputFactory.SUPPORT_DTD, false);
    factory.setProperty(XMLInputFactory.IS_SUPPORTING_EXTERNAL_ENTITIES, false);
    factory.setProperty(XMLInputFactory.IS_REPLACING_ENTITY_REFERENCES, false);
    factory.setProperty(XMLConstants.ACCESS_EXTERNAL_DTD, "");
    factory.setXMLResolver((publicId, systemId, base, namespace) -> {
      throw new XMLStreamException("nothing is fetched");
    });
    String name = null;
    String namespace = null;
    int depth = 0;
    try {
      XMLStreamReader reader = factory.createXMLStreamReader(new ByteArrayInputStream(xml));
      while (reader.hasNext()) {
        int event = reader.next();
        if (event == XMLStreamConstants.DTD || event == XMLStreamConstants.ENTITY_REFERENCE) {
          return Problem.MARKUP;
        }
        if (event == XMLStreamConstants.START_ELEMENT) {
          if (++depth > DEEPEST) {
            return Problem.MARKUP;
          }
          if (name == null) {
            name = reader.getLocalName();
            namespace = reader.getNamespaceURI();
          }
        } else if (event == XMLStreamConstants.END_ELEMENT) {
          --depth;
        }
      }
    } catch (XMLStreamException | RuntimeException e) {
      // its message quotes the request, and the parser has been seen to end in an index out of bounds
      return Problem.NOT_WELL_FORMED;
    }
    if (name == null) {
      return Problem.NOT_WELL_FORMED;
    }
    if (!LAYER.equals(namespace)) {
      return namespace != null && namespace.startsWith(ANY_LAYER) ? Problem.OTHER_VERSION : Problem.NOT_A_COMMAND;
    }
    return name.endsWith("Request") ? Problem.STAND_IN : Problem.NOT_A_COMMAND;
  }
}
