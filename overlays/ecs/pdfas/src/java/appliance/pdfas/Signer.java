package appliance.pdfas;

import java.io.BufferedOutputStream;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Calendar;
import java.util.Collections;
import java.util.TimeZone;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.pdfbox.cos.COSArray;
import org.apache.pdfbox.cos.COSBase;
import org.apache.pdfbox.cos.COSDictionary;
import org.apache.pdfbox.cos.COSName;
import org.apache.pdfbox.io.MemoryUsageSetting;
import org.apache.pdfbox.pdmodel.PDDocument;
import org.apache.pdfbox.pdmodel.PDPage;
import org.apache.pdfbox.pdmodel.PDResources;
import org.apache.pdfbox.pdmodel.common.PDRectangle;
import org.apache.pdfbox.pdmodel.encryption.InvalidPasswordException;
import org.apache.pdfbox.pdmodel.interactive.annotation.PDAnnotationWidget;
import org.apache.pdfbox.pdmodel.interactive.annotation.PDAppearanceDictionary;
import org.apache.pdfbox.pdmodel.interactive.annotation.PDAppearanceStream;
import org.apache.pdfbox.pdmodel.interactive.digitalsignature.ExternalSigningSupport;
import org.apache.pdfbox.pdmodel.interactive.digitalsignature.PDSignature;
import org.apache.pdfbox.pdmodel.interactive.form.PDSignatureField;
import org.bouncycastle.asn1.ASN1Encoding;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.cms.CMSObjectIdentifiers;
import org.bouncycastle.asn1.ess.ESSCertIDv2;
import org.bouncycastle.asn1.ess.SigningCertificateV2;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.asn1.DERSet;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cms.CMSException;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.CMSTypedData;
import org.bouncycastle.cms.DefaultSignedAttributeTableGenerator;
import org.bouncycastle.cms.jcajce.JcaSignerInfoGeneratorBuilder;
import org.bouncycastle.operator.OperatorCreationException;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/** Adds a signature to a PDF: detached CMS with the signing certificate among what is signed, appended to the file as it is. */
final class Signer {
  private static final Logger LOG = Logger.getLogger(Signer.class.getName());
  private static final long ON_HEAP = 16L << 20;
  // of what is unpacked, on the tmpfs: a file of 30 MB can hold many GB
  private static final long UNPACKED = 160L << 20;
  private static final Pattern END = Pattern.compile("startxref\\s+(\\d{1,10})\\s+%%EOF");
  private static final Pattern TABLE = Pattern.compile("\\s*(xref\\s|\\d+\\s+\\d+\\s+obj)");

  private final Keys keys;
  private final boolean visible;

  Signer(Keys keys, boolean visible) {
    this.keys = keys;
    this.visible = visible;
  }

  /** Writes IN with its signature to OUT. */
  void sign(Path in, Path out) throws Refused, IOException {
    refuse(in);
    try (PDDocument document = PDDocument.load(in.toFile(), MemoryUsageSetting.setupMixed(ON_HEAP, UNPACKED))) {
      refuse(document);
      PDSignature signature = new PDSignature();
      signature.setFilter(PDSignature.FILTER_ADOBE_PPKLITE);
      signature.setSubFilter(PDSignature.SUBFILTER_ADBE_PKCS7_DETACHED);
      signature.setName(Page.commonName(keys));
      signature.setLocation(Page.host());
      signature.setSignDate(Calendar.getInstance(TimeZone.getTimeZone("UTC")));
      document.addSignature(signature);
      if (visible) {
        show(document, signature);
      }
      try (OutputStream stream = new BufferedOutputStream(Files.newOutputStream(out))) {
        ExternalSigningSupport support = document.saveIncrementalForExternalSigning(stream);
        support.setSignature(cms(support.getContent()));
      }
    } catch (InvalidPasswordException e) {
      throw new Refused(422, "This PDF is encrypted. Only one that opens without a password can be signed.");
    }
  }

  /** Refuses what is no PDF or not all of one. PDFBox would mend it as it reads; the signature would then stand behind a table of
   *  contents that other readers cannot follow. */
  private static void refuse(Path file) throws Refused, IOException {
    try (RandomAccessFile in = new RandomAccessFile(file.toFile(), "r")) {
      // readers take a header in the first kB, and look for the end in the last
      if (!text(in, 0, 1024).contains("%PDF-")) {
        throw new Refused(422, "This is not a PDF.");
      }
      Matcher end = END.matcher(text(in, Math.max(0, in.length() - 2048), 2048));
      long table = -1;
      while (end.find()) {
        table = Long.parseLong(end.group(1));
      }
      if (table < 0 || table >= in.length() || !TABLE.matcher(text(in, table, 64)).lookingAt()) {
        throw new Refused(422, "This PDF is broken, or a part of it is missing.");
      }
    }
  }

  private static String text(RandomAccessFile in, long from, int most) throws IOException {
    byte[] bytes = new byte[(int) Math.min(most, in.length() - from)];
    in.seek(from);
    in.readFully(bytes);
    return new String(bytes, StandardCharsets.ISO_8859_1);
  }

  private static void refuse(PDDocument document) throws Refused {
    if (document.isEncrypted()) {
      throw new Refused(422, "This PDF is encrypted. Only one that is not can be signed.");
    }
    if (document.getNumberOfPages() == 0) {
      throw new Refused(422, "This PDF is broken: it has no page.");
    }
    COSBase permissions = document.getDocumentCatalog().getCOSObject().getDictionaryObject(COSName.getPDFName("Perms"));
    if (permissions instanceof COSDictionary && forbidsChanges((COSDictionary) permissions)) {
      throw new Refused(422, "This PDF is certified and allows no further signature.");
    }
  }

  /** Says the author's certification that any change breaks it (DocMDP, P 1)? */
  private static boolean forbidsChanges(COSDictionary permissions) {
    COSBase certification = permissions.getDictionaryObject(COSName.DOCMDP);
    COSBase references = certification instanceof COSDictionary ? ((COSDictionary) certification).getDictionaryObject(COSName.getPDFName("Reference")) : null;
    if (!(references instanceof COSArray)) {
      return false;
    }
    for (int i = 0; i < ((COSArray) references).size(); ++i) {
      COSBase reference = ((COSArray) references).getObject(i);
      COSBase how = reference instanceof COSDictionary ? ((COSDictionary) reference).getDictionaryObject(COSName.getPDFName("TransformParams")) : null;
      if (how instanceof COSDictionary && ((COSDictionary) how).getInt(COSName.P, 2) == 1) {
        return true;
      }
    }
    return false;
  }

  /** Two small lines in the lower left corner of the first page. */
  private void show(PDDocument document, PDSignature signature) throws IOException {
    for (PDSignatureField field : document.getSignatureFields()) {
      if (field.getSignature() == null || field.getSignature().getCOSObject() != signature.getCOSObject()) {
        continue;
      }
      PDPage page = document.getPage(0);
      PDRectangle paper = page.getCropBox();
      PDRectangle place = new PDRectangle(paper.getLowerLeftX() + 18, paper.getLowerLeftY() + 12, 260, 22);
      PDAppearanceStream appearance = new PDAppearanceStream(document);
      appearance.setBBox(new PDRectangle(place.getWidth(), place.getHeight()));
      appearance.setResources(new PDResources(helvetica()));
      String text = "BT /F 7 Tf 0.2 g 2 12 Td (Signed by " + ascii(Page.commonName(keys)) + ", " + ascii(Page.host()) + ") Tj 0 -9 Td ("
          + Instant.now().truncatedTo(ChronoUnit.SECONDS) + ") Tj ET\n";
      try (OutputStream stream = appearance.getStream().createOutputStream()) {
        stream.write(text.getBytes(StandardCharsets.US_ASCII));
      }
      PDAppearanceDictionary looks = new PDAppearanceDictionary();
      looks.setNormalAppearance(appearance);
      PDAnnotationWidget widget = field.getWidgets().get(0);
      widget.setRectangle(place);
      widget.setAppearance(looks);
      widget.setPrinted(true);
    }
  }

  /** By hand: PDFBox would look through all fonts of the system for one that every reader has. */
  private static COSDictionary helvetica() {
    COSDictionary font = new COSDictionary();
    font.setName(COSName.TYPE, "Font");
    font.setName(COSName.SUBTYPE, "Type1");
    font.setName(COSName.BASE_FONT, "Helvetica");
    font.setName(COSName.ENCODING, "WinAnsiEncoding");
    COSDictionary fonts = new COSDictionary();
    fonts.setItem(COSName.F, font);
    COSDictionary resources = new COSDictionary();
    resources.setItem(COSName.FONT, fonts);
    return resources;
  }

  private static String ascii(String text) {
    return text.replaceAll("[^A-Za-z0-9 .,:@-]", "?");
  }

  private byte[] cms(InputStream content) throws IOException, Refused {
    try {
      ESSCertIDv2 certificate = new ESSCertIDv2(Keys.sha256(keys.certificate.getEncoded()));
      Attribute attribute = new Attribute(PKCSObjectIdentifiers.id_aa_signingCertificateV2, new DERSet(new SigningCertificateV2(certificate)));
      JcaSignerInfoGeneratorBuilder signer = new JcaSignerInfoGeneratorBuilder(new JcaDigestCalculatorProviderBuilder().build());
      signer.setSignedAttributeGenerator(new DefaultSignedAttributeTableGenerator(new AttributeTable(new DERSet(attribute))));
      CMSSignedDataGenerator generator = new CMSSignedDataGenerator();
      generator.addSignerInfoGenerator(signer.build(new JcaContentSignerBuilder(keys.algorithm()).build(keys.key), keys.certificate));
      generator.addCertificates(new JcaCertStore(Collections.singletonList(keys.certificate)));
      // as ISO 32000 wants it; of itself it would be BER, of no definite length
      return generator.generate(new Streamed(content), false).getEncoded(ASN1Encoding.DER);
    } catch (GeneralSecurityException | OperatorCreationException | CMSException e) {
      LOG.log(Level.SEVERE, "no signature can be made: {0}", e.toString());
      throw new Refused(500, "No signature could be made; the log says why.");
    }
  }

  /** What is signed, read once and never as a whole in memory. */
  private static final class Streamed implements CMSTypedData {
    private final InputStream in;

    Streamed(InputStream in) {
      this.in = in;
    }

    @Override
    public ASN1ObjectIdentifier getContentType() {
      return CMSObjectIdentifiers.data;
    }

    @Override
    public void write(OutputStream out) throws IOException {
      in.transferTo(out);
    }

    @Override
    public Object getContent() {
      return new ByteArrayInputStream(new byte[0]);
    }
  }
}
