package org.apache.catalina.startup;

import java.net.URL;
import javax.net.ssl.HttpsURLConnection;

/** In Tomcat's place: asks the https server that a test names, as an application in Tomcat would. */
public final class Bootstrap {
  private Bootstrap() {}

  public static void main(String[] args) throws Exception {
    HttpsURLConnection connection = (HttpsURLConnection) new URL(System.getProperty("test.url")).openConnection();
    System.out.println("answer " + connection.getResponseCode());
  }
}
